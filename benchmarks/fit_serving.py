"""Learn the constants that `cloudbandit predict` uses: ``data/serving/constants.json``, from ``data/silicon-points``; the
ratios of percentiles to medians from ``data/llm-pilot`` and ``data/openvino-cpu``.

python benchmarks/fit_serving.py
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

from cloudbandit.surrogate.ratios_known import ratio_points
from cloudbandit.surrogate.training import train, training_points
from cloudbandit.surrogate.training_loads import with_tgis

OUT = Path(__file__).parent.parent / "data" / "serving" / "constants.json"


def main() -> None:
    points = training_points()
    began = time.process_time()
    serving = replace(with_tgis(train(points)), ratios=ratio_points().learn())
    OUT.parent.mkdir(exist_ok=True)
    source = (
        "benchmarks/fit_serving.py on data/silicon-points (Apache-2.0; its README names the source), data/llm-pilot "
    )
    source += "(CDLA-Permissive-2.0) and data/openvino-cpu"
    data = {"source": source, "points": len(points), **serving.to_dict()}
    text = json.dumps(data, indent=1, sort_keys=True)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)  # a list of numbers, a line
    OUT.write_text(text + "\n", encoding="utf-8")
    print(f"{OUT}: {len(points)} points, {time.process_time() - began:.1f} s of processor time")


if __name__ == "__main__":
    main()
