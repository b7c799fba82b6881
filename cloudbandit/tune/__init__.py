"""Engine settings under SLOs: searched in few paid trials, and judged against the default under noise."""
