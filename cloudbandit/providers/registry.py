"""Providers by name; another package's are found by its entry points in the group ``cloudbandit.providers``."""

from cloudbandit.core.names import Names

PROVIDERS = Names(
    "provider",
    "cloudbandit.providers",
    {
        "local": "cloudbandit.providers.local:LocalProvider",
        "ssh": "cloudbandit.providers.ssh:SSHProvider",
        "aws": "cloudbandit.providers.aws:AWSProvider",
        "gcp": "cloudbandit.providers.gcp:GCPProvider",
        "azure": "cloudbandit.providers.azure:AzureProvider",
    },
)
DEFAULT = "local"
