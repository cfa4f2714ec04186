"""Device strings: read, written, merged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc.ir.device import Device
from graphc.ir.errors import DeviceError

kinds = st.one_of(
    st.tuples(st.none(), st.none()),
    st.tuples(st.sampled_from(["cpu", "gpu"]), st.one_of(st.none(), st.integers(0, 99))),
)
devices = st.builds(
    lambda job, task, kind: Device(job, task, *kind),
    st.one_of(st.none(), st.sampled_from(["ps", "worker", "my-job.2"])),
    st.one_of(st.none(), st.integers(0, 999)),
    kinds,
)


@given(devices)
def test_a_device_survives_its_text(device: Device) -> None:
    assert Device.parse(str(device)) == device


@given(devices, devices, devices)
def test_merging(a: Device, b: Device, c: Device) -> None:
    assert a.merge(Device()) == Device().merge(a) == a
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    merged = a.merge(b)
    assert merged.job == (a.job if b.job is None else b.job)
    assert merged.task == (a.task if b.task is None else b.task)
    if b.kind is not None:
        assert (merged.kind, merged.index) == (b.kind, b.index)


@given(devices, devices)
def test_both_is_what_two_specifications_say_together(a: Device, b: Device) -> None:
    both = a.both(b)
    assert both == b.both(a)
    if both is None:
        assert not a.matches(b)
        assert not b.matches(a)
    else:
        assert a.matches(both)
        assert b.matches(both)
        assert both.both(a) == both
    assert a.both(a) == a.both(Device()) == a


@pytest.mark.parametrize(
    ("specification", "allowed"),
    [
        ("", True), ("/job:ps", True), ("/task:1", True), ("/cpu", True), ("/cpu:0", True),
        ("/job:ps/task:1/cpu:0", True), ("/job:worker", False), ("/task:0", False),
        ("/gpu", False), ("/job:ps/cpu:1", False),
    ],
)  # fmt: skip
def test_specifications_allow_devices(specification: str, allowed: bool) -> None:
    full = Device("ps", 1, "cpu", 0)
    assert full.is_full
    assert Device.parse(specification).matches(full) is allowed
    assert Device.parse(specification).is_full is (specification == str(full))


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("", Device()),
        ("/job:ps/task:0/cpu:0", Device("ps", 0, "cpu", 0)),
        ("/device:GPU:1", Device(kind="gpu", index=1)),
        ("gpu:1", Device(kind="gpu", index=1)),
        ("/CPU:*", Device(kind="cpu")),
        ("/task:3", Device(task=3)),
        ("/job:cpu_farm/gpu", Device("cpu_farm", kind="gpu")),
    ],
)
def test_what_users_write(text: str, device: Device) -> None:
    assert Device.parse(text) == device


@pytest.mark.parametrize(
    "text", ["/tpu:0", "cpu:0:1", "/job:", "/cpu:0/gpu:0", "/cpu:x", "cpuX", " "]
)
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(DeviceError, match="is no device: write /job:NAME"):
        Device.parse(text)
