"""GPUs by their datasheets: names, rates by precision, a row of one's own."""

import pytest

from cloudbandit.catalogue.facts import facts
from cloudbandit.catalogue.gpus import find_gpu, load_gpus
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.core.offer import Offer

OLD = (
    "part,aliases,architecture,compute_capability,memory_gib,bandwidth_gb_per_s,fp16_dense_tflops,link_gb_per_s,source"
)
ROW = "MINE-48GB,MINE,Future,11.0,48,2000,500,64,a datasheet"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("h100_sxm", "H100-SXM5-80GB"),
        ("h200_sxm", "H200-SXM5-141GB"),
        ("b200_sxm", "B200-SXM6-180GB"),
        ("b300_sxm", "B300-SXM6-288GB"),
        ("gb200", "GB200-186GB"),
        ("gb300", "GB300-288GB"),
        ("rtx-4090", "RTX-4090-24GB"),
        ("RTX-5090-32GB", "RTX-5090-32GB"),
        ("MI300X", "MI300X-192GB"),
        ("MI325X", "MI325X-256GB"),
        ("MI355X", "MI355X-288GB"),
        ("H20", "H20-96GB"),
        ("GH200", "GH200-96GB"),
        ("A100", "A100-PCIe-40GB"),
        ("V100", "V100-16GB"),
    ],
)
def test_parts_are_found_as_measurements_name_them(name, part):
    assert find_gpu(name).part == part


@pytest.mark.parametrize("name", ["A100", "v100", "GH200"])
def test_a_name_of_several_parts_is_refused_where_it_matters(name):
    with pytest.raises(UsageError, match=rf"may be any of {name.upper()}-.*, {name.upper()}-.*Cure: name the part"):
        find_gpu(name, strict=True)


@pytest.mark.parametrize("name", ["H100", "L4", "A100-PCIe-40GB"])
def test_a_name_of_one_part_is_not(name):
    assert find_gpu(name, strict=True) == find_gpu(name)


def test_rates_double_from_16_to_8_bits_and_from_8_to_4_at_least():
    for gpu in load_gpus().values():
        assert gpu.source
        if gpu.fp8_dense_tflops:
            assert gpu.fp8_dense_tflops == pytest.approx(2 * gpu.fp16_dense_tflops, rel=0.02), gpu.part
        if gpu.fp4_dense_tflops:
            assert gpu.fp8_dense_tflops
            assert gpu.fp4_dense_tflops >= 1.98 * gpu.fp8_dense_tflops, gpu.part


@pytest.mark.parametrize(
    ("part", "precision", "tflops"),
    [
        ("A100-SXM4-80GB", "bf16", 312),
        ("A100-SXM4-80GB", "int4", 312),
        ("A100-SXM4-80GB", "mxfp4", 312),
        ("H100", "fp8", 1979),
        ("H100", "mxfp4", 989),
        ("H100", "w8a8", 989),
        ("B200", "fp4", 9000),
        ("MI355X", "nvfp4", 10066),
    ],
)
def test_a_precision_has_the_rate_of_what_it_is_multiplied_in(part, precision, tflops):
    assert find_gpu(part).dense_tflops(precision) == tflops
    find_gpu(part).check_precision(precision)


@pytest.mark.parametrize(
    ("part", "precision", "message"),
    [
        ("A100-SXM4-80GB", "fp8", r"A100-SXM4-80GB \(Ampere\) cannot run fp8: it computes in fp16, and stores int4"),
        ("H100", "fp4", r"H100-SXM5-80GB \(Hopper\) cannot run fp4: it computes in fp16, fp8"),
        ("MI300X", "nvfp4", "MI300X-192GB .*cannot run nvfp4"),
        ("T4", "mxfp4", "T4-16GB .*cannot run mxfp4"),
    ],
)
def test_a_precision_it_cannot_run_is_refused_by_name(part, precision, message):
    with pytest.raises(UsageError, match=message):
        find_gpu(part).check_precision(precision)
    with pytest.raises(UnknownNameError, match="unknown precision 'fp12'"):
        find_gpu(part).check_precision("fp12")


def test_a_row_of_one_s_own_is_enough(tmp_path):
    path = tmp_path / "gpus.csv"
    path.write_text(f"{OLD}\n{ROW}\n")
    table = load_gpus(path)
    mine = find_gpu("mine", table)
    assert (mine.memory_gib, mine.fp8_dense_tflops) == (48, None)
    assert find_gpu("H100", table) == find_gpu("H100"), "the bundled parts stay"
    path = tmp_path / "bare.csv"
    path.write_text(
        "part,architecture,compute_capability,memory_gib,bandwidth_gb_per_s,fp16_dense_tflops,link_gb_per_s\nH100-SXM5-80GB,Hopper,9,80,1,1,1\n"
    )
    assert find_gpu("H100-SXM5-80GB", load_gpus(path)).bandwidth_gb_per_s == 1, "one's own row wins"
    assert "MINE-48GB" not in load_gpus()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{OLD}\n{ROW}\n{ROW.replace('MINE-48GB', 'YOURS')}\n", "line 3.*MINE names two parts, MINE-48GB and YOURS"),
        (f"{OLD}\n{ROW}\n{ROW}\n", "line 3.*MINE-48GB names two parts"),
        (f"{OLD}\n{ROW.replace('2000', 'nan')}\n", r"line 2.*numbers must be > 0"),
        (f"{OLD},fp8_dense_tflops\n{ROW},-1\n", r"line 2.*numbers must be > 0"),
        (f"{OLD}\n{ROW.replace('MINE-48GB', '')}\n", "line 2.*part is empty"),
        ("part,architecture\nX,New\n", "lacks the columns compute_capability"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, text, message):
    path = tmp_path / "gpus.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_gpus(path)


def test_facts_of_an_offer_hold_the_rates_that_are_known():
    known = facts(Offer("aws", "", "p5", 1.0, accelerator="H100", accelerators=8))
    assert known["accelerator_fp8_dense_tflops"] == 1979
    assert "accelerator_fp4_dense_tflops" not in known
