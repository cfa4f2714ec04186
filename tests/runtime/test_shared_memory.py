"""Memory that tasks of one host share: lent and given back, read where it lies, combined."""

import gc
import mmap
import os
import random

import numpy as np
import pytest

from graphc.ir.dtypes import as_dtype
from graphc.runtime.drivers.host import segment as segments
from graphc.runtime.drivers.host.heap import Heap
from graphc.runtime.drivers.host.reducing import SharedGroup
from graphc.runtime.drivers.host.segment import Segment
from graphc.runtime.effects import AllReduce
from tests.runtime.test_mpi import mpiexec

PAGE = mmap.PAGESIZE


@pytest.fixture
def descriptor():
    found = os.memfd_create("test")
    os.ftruncate(found, 1 << 24)
    yield found
    os.close(found)


def of_tasks(count):
    """A segment for each of so many tasks, all in this process."""
    found = {}
    for rank in range(count):
        memory = os.memfd_create("test")
        os.ftruncate(memory, 1 << 24)
        found[rank] = Segment(memory, 1 << 24)
        os.close(memory)
    return found


class TestHeap:
    @pytest.mark.random_cases(quick=20, soak=1000)
    def test_what_is_lent_never_overlaps_and_all_comes_back(self, descriptor, case_seed):
        rng = random.Random(case_seed)
        heap = Heap(mmap.mmap(descriptor, 1 << 24), PAGE, 1 << 24)
        lent = {}
        for number in range(200):
            if lent and rng.random() < 0.5:
                array = lent.pop(rng.choice([*lent]))
                assert (array == array[:1]).all()
                del array
            size = rng.choice([0, 1, 63, 64, 65, PAGE, 5 * PAGE + 7, 1 << 20])
            array = heap.allocate(size)
            if array is not None:
                assert array.size == size
                assert array.ctypes.data % 64 == 0
                array[:] = number % 251
                lent[number] = array
        for number, array in lent.items():
            assert (array == number % 251).all()
        lent.clear()
        del array
        assert heap.allocate((1 << 24) - PAGE) is not None

    def test_a_view_keeps_what_it_is_of(self, descriptor):
        heap = Heap(mmap.mmap(descriptor, 1 << 24), 0, 2 * PAGE)
        view = heap.allocate(2 * PAGE)[8:16].view(np.float32)
        gc.collect()
        assert heap.allocate(1) is None
        del view
        assert heap.allocate(1) is not None

    def test_pages_go_back_to_the_system(self, descriptor):
        heap = Heap(mmap.mmap(descriptor, 1 << 24), 0, 1 << 24)
        array = heap.allocate(1 << 22)
        array[:] = 1
        used = os.fstat(descriptor).st_blocks
        assert 512 * used >= 1 << 22
        del array
        heap.collect()
        assert 512 * os.fstat(descriptor).st_blocks <= PAGE


class TestSegments:
    def test_others_see_what_the_owner_writes(self, descriptor):
        own, other = Segment(descriptor, 1 << 24), Segment(descriptor, 1 << 24)
        array = own.heap.allocate(1000)
        array[:] = 7
        offset = own.offset_of(array.ctypes.data, 1000)
        assert (other.array(offset, 1000) == 7).all()
        assert own.offset_of(np.empty(10).ctypes.data, 80) is None
        own.words(3)[1] = 11
        assert other.words(3)[1] == 11
        assert other.words(2)[1] == 0

    @pytest.mark.parametrize("fault", ["", "token", "descriptor", "process", "size"])
    def test_memory_that_is_not_what_was_offered_is_refused(self, descriptor, fault):
        own = Segment(descriptor, 1 << 24)
        own.token = b"0123456789abcdef"
        offer = segments._Offer(1, os.getpid(), descriptor, own.size, own.token)
        wrong = {
            "token": {"token": b"another one, yes"}, "descriptor": {"descriptor": 10**6},
            "process": {"process": 2**22 + 1}, "size": {"size": 1 << 62}, "": {},
        }  # fmt: skip
        assert segments._map_others([offer._replace(**wrong[fault])], {}) == (not fault)


class TestReducing:
    @pytest.mark.random_cases(quick=40, soak=3000)
    def test_members_in_any_order_get_the_same_sum(self, case_seed):
        rng = random.Random(case_seed)
        members = rng.sample(range(9), rng.randint(2, 5))
        memory = of_tasks(9)
        groups = [SharedGroup(rank, members, memory, 1) for rank in members]
        dtype = rng.choice([np.float32, np.int16, np.float64])
        values = np.random.default_rng(case_seed)
        sizes = [rng.choice([1, 5, 63, 64, 1000, 70_000]) for _ in range(rng.randint(1, 4))]
        wholes = [values.integers(-9, 9, (len(members), size)).astype(dtype) for size in sizes]
        begun = [[] for _ in members]
        ended = [set() for _ in members]
        while any(len(numbers) < len(sizes) for numbers in ended):
            index = rng.randrange(len(members))
            number = len(begun[index])
            if number < len(sizes) and rng.random() < 0.4:
                row = wholes[number][index].copy()
                if rng.random() < 0.5:  # where others can read it
                    room = memory[members[index]].heap.allocate(row.nbytes).view(dtype)
                    room[:] = row
                    row = room
                effect = AllReduce(1, tuple(members), row, "sum", shared=True)
                begun[index].append((groups[index].begin(effect), row))
            elif number:
                number = rng.randrange(number)
                reducing, row = begun[index][number]
                if reducing.Test() and number not in ended[index]:
                    np.testing.assert_array_equal(row, wholes[number].sum(0))
                    row[:] = 99  # nobody reads it any more
                    ended[index].add(number)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_all_members_get_the_same_bits_and_nan_is_kept(self, dtype):
        numpy = as_dtype(dtype).numpy
        memory = of_tasks(3)
        groups = [SharedGroup(rank, (0, 1, 2), memory, 0) for rank in range(3)]
        rows = list(np.random.default_rng(0).normal(size=(3, 1000)).astype(numpy))
        rows[1][999] = np.nan
        begun = [
            group.begin(AllReduce(0, (0, 1, 2), row, "max", shared=True))
            for group, row in zip(groups, rows, strict=True)
        ]
        for reducing in 3 * begun:
            reducing.Test()
        assert all(reducing.Test() for reducing in begun)
        assert rows[0].tobytes() == rows[1].tobytes() == rows[2].tobytes()
        assert np.isnan(rows[0][999])

    def test_operands_for_which_there_is_no_room_are_refused(self):
        memory = of_tasks(2)
        effect = AllReduce(0, (0, 1), np.zeros(1 << 24), "sum", shared=True)
        with pytest.raises(MemoryError, match="134,217,728 bytes for a reduction"):
            SharedGroup(0, (0, 1), memory, 0).begin(effect)


@pytest.mark.mpi
class TestRanks:
    @pytest.mark.parametrize("synchronous", ["0", "1"])
    @pytest.mark.parametrize("hosts", ["one", "two", "one that refuses"])
    def test_tensors_of_any_length_arrive(self, hosts, synchronous):
        spec = {"worker": ["localhost"] * 4}
        found = mpiexec("tensors.py", spec, hosts, GRAPHC_SYNCHRONOUS_SENDS=synchronous, seconds=60)
        shared = hosts == "one"
        assert found.splitlines() == [f"all arrived, reductions over memory: {shared}"] * 4
