import doctest
import subprocess
import sys

import pytest

import cloudbandit


def test_all_names_resolve_and_are_documented():
    for name in cloudbandit.__all__:
        value = getattr(cloudbandit, name)
        assert name == "__version__" or value.__doc__, name
    assert dir(cloudbandit) == cloudbandit.__all__
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = cloudbandit.nope


def test_import_is_light():
    heavy = {"scipy", "pandas", "sklearn", "ConfigSpace", "boto3", "google", "azure", "sqlalchemy", "matplotlib"}
    code = "import sys, cloudbandit; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


def test_research_names_stay_light_too():
    code = "import sys; from cloudbandit import *; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ConfigSpace" not in loaded
    assert "pandas" not in loaded


def test_the_example_in_the_documentation_runs():
    import cloudbandit.api

    assert doctest.testmod(cloudbandit.api) == (0, 7)
