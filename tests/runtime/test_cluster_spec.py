"""ClusterSpec: what it says of its tasks, and what it refuses."""

import json

import pytest

import graphc as gx
from graphc.runtime.cluster_spec import Task, world_rank, world_size

JOBS = {"ps": ["a"], "worker": ["b:2222", "c:2222"]}
MPI_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK")


@pytest.fixture(autouse=True)
def _no_job(monkeypatch):
    """The tests may themselves run under mpiexec."""
    for name in ("GRAPHC_CLUSTER", *MPI_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def spec():
    return gx.train.ClusterSpec(JOBS)


def test_what_it_says_of_its_tasks(spec):
    assert (spec.jobs, spec.size, bool(spec)) == (["ps", "worker"], 3, True)
    assert spec.num_tasks("worker") == 2
    assert spec.task_indices("worker") == [0, 1]
    assert spec.job_tasks("worker") == ["b:2222", "c:2222"]
    assert spec.task_address("worker", 1) == "c:2222"
    assert spec.as_dict() == JOBS
    assert str(spec) == "ps:0, worker:0-1"
    assert eval(repr(spec), {"ClusterSpec": gx.train.ClusterSpec}) == spec


def test_what_it_gives_cannot_change_it(spec):
    spec.job_tasks("worker").append("d")
    spec.as_dict()["worker"].append("d")
    spec.jobs.append("e")
    assert spec.as_dict() == JOBS


def test_ranks_follow_the_order_of_the_spec(spec):
    assert spec.tasks == (("ps", 0), ("worker", 0), ("worker", 1))
    for rank, task in enumerate(spec.tasks):
        assert spec.task_of(rank) == task
        assert spec.rank_of(*task) == rank
    turned = gx.train.ClusterSpec({"worker": JOBS["worker"], "ps": JOBS["ps"]})
    assert turned.rank_of("ps", 0) == 2
    assert turned != spec
    assert (str(Task("ps", 0)), Task("ps", 0).device) == ("ps:0", "/job:ps/task:0")


@pytest.mark.parametrize("form", [
    lambda spec: spec,
    lambda spec: json.dumps(JOBS),
    lambda spec: spec.to_json(),
    lambda spec: {"ps": ("a",), "worker": {1: "c:2222", 0: "b:2222"}},
    lambda spec: {"ps": {"0": "a"}, "worker": {"1": "c:2222", "0": "b:2222"}},
])  # fmt: skip
def test_forms_of_one_cluster(spec, form):
    made = gx.train.ClusterSpec(form(spec))
    assert made == spec
    assert hash(made) == hash(spec)


def test_a_number_of_tasks_is_so_many_here():
    assert gx.train.ClusterSpec({"worker": 2}).as_dict() == {"worker": ["localhost"] * 2}


def test_a_file(spec, tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(spec.to_json())
    assert gx.train.ClusterSpec.from_file(path) == spec
    assert gx.train.ClusterSpec.from_file(str(path)) == spec


@pytest.mark.parametrize(("jobs", "chief"), [
    ({"ps": 1, "chief": 1, "worker": 2}, "worker:0"),
    ({"ps": 1, "master": 1}, "master:0"),
    ({"ps": 1, "chief": 2}, "chief:0"),
    ({"ps": 2, "evaluator": 1}, "ps:0"),
])  # fmt: skip
def test_chief(jobs, chief):
    assert str(gx.train.ClusterSpec(jobs).chief) == chief


def test_an_empty_cluster_has_nothing():
    empty = gx.train.ClusterSpec({})
    assert (bool(empty), empty.size, str(empty)) == (False, 0, "no tasks")
    with pytest.raises(gx.ClusterError, match="there is no rank 0"):
        _ = empty.chief


@pytest.mark.parametrize(("jobs", "told"), [
    (None, "mapping from jobs to tasks, not None"),
    (["localhost"], "mapping from jobs to tasks"),
    ("{", "no JSON"),
    ("[" * 100_000, "no JSON"),
    ("3", "mapping from jobs to tasks, not 3"),
    ('{"ps": 1, "ps": 1}', "'ps' is there twice"),
    ('{"ps": {"0": "a", "0": "b"}}', "'0' is there twice"),
    ({"ps": {0: "a", "0": "b"}}, "task 0 of job 'ps' is there twice"),
    ({"ps": {"1": "a", "01": "b"}}, "task 1 of job 'ps' is there twice"),
    ({"ps": {0: "a", 2: "b"}}, "tasks \\[0, 2\\] but no task 1"),
    ({"ps": {1: "a"}}, "no task 0"),
    ({"ps": {-1: "a"}}, "-1 is no task of job 'ps'"),
    ({"ps": {"first": "a"}}, "'first' is no task"),
    ({"ps": {True: "a"}}, "True is no task"),
    ({"ps": {0.0: "a"}}, "0.0 is no task"),
    ({"ps": []}, "'ps' has no tasks"),
    ({"ps": {}}, "'ps' has no tasks"),
    ({"ps": 0}, "'ps' has no tasks"),
    ({"ps": -1}, "cannot have -1 tasks"),
    ({"ps": 10**9}, "cannot have 1000000000 tasks"),
    ({"ps": True}, "cannot be True"),
    ({"ps": "localhost"}, "cannot be 'localhost'"),
    ({"ps": 1.5}, "cannot be 1.5"),
    ({"ps": None}, "cannot be None"),
    ({"ps": [1]}, "address of ps:0 is no text"),
    ({"ps": [""]}, "'' is no address"),
    ({"ps": ["a b"]}, "'a b' is no address"),
    ({"ps": ["-x"]}, "'-x' is no address"),
    ({"ps": ["a,b"]}, "no address"),
    ({"ps": ["a:"]}, "no address"),
    ({"ps": ["a:0"]}, "no address"),
    ({"ps": ["a:65536"]}, "no address"),
    ({"ps": ["::1"]}, "no address"),
    ({"ps": ["a\n"]}, "no address"),
    ({"ps": ["a:1"], "worker": ["b", "a:1"]}, "ps:0 and worker:1 both have the address 'a:1'"),
    ({"": 1}, "'' is no name of a job"),
    ({"1ps": 1}, "is no name of a job"),
    ({"p s": 1}, "is no name of a job"),
    ({"ps/task:0": 1}, "is no name of a job"),
    ({"ps\n": 1}, "is no name of a job"),
    ({3: 1}, "3 is no name of a job"),
])  # fmt: skip
def test_refusals(jobs, told):
    with pytest.raises(gx.ClusterError, match=told):
        gx.train.ClusterSpec(jobs)


@pytest.mark.parametrize("address", ["a", "a.b-c:1", "10.0.0.1:80", "[::1]:22", "[fe80::1]"])
def test_addresses(address):
    assert gx.train.ClusterSpec({"ps": [address]}).job_tasks("ps") == [address]


@pytest.mark.parametrize(("ask", "told"), [
    (lambda spec: spec.num_tasks("p"), "no job 'p'; there are: ps:0, worker:0-1"),
    (lambda spec: spec.job_tasks(None), "no job None"),
    (lambda spec: spec.task_indices("p"), "no job 'p'"),
    (lambda spec: spec.task_address("ps", 1), "'ps' has no task 1: it has 1"),
    (lambda spec: spec.rank_of("worker", -1), "no task -1"),
    (lambda spec: spec.rank_of("worker", "0"), "no task '0'"),
    (lambda spec: spec.task_of(3), "no rank 3: the cluster has 3"),
    (lambda spec: spec.task_of(-1), "no rank -1"),
])  # fmt: skip
def test_unknown_jobs_tasks_and_ranks(spec, ask, told):
    with pytest.raises(gx.ClusterError, match=told):
        ask(spec)


def test_files_that_are_none(tmp_path):
    with pytest.raises(gx.ClusterError, match="nowhere cannot be read: No such file"):
        gx.train.ClusterSpec.from_file(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(gx.ClusterError, match="binary cannot be read: it is no text"):
        gx.train.ClusterSpec.from_file(tmp_path / "binary")
    (tmp_path / "bad.json").write_text('{"ps": []}')
    with pytest.raises(gx.ClusterError, match=r"bad.json: job 'ps' has no tasks"):
        gx.train.ClusterSpec.from_file(tmp_path / "bad.json")


class TestEnvironment:
    @pytest.mark.parametrize("variable", [None, "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
    def test_the_job_that_this_process_belongs_to(self, spec, variable, monkeypatch):
        monkeypatch.setenv("GRAPHC_CLUSTER", spec.to_json())
        if variable:
            monkeypatch.setenv(variable, "3")
            monkeypatch.setenv(variable.replace("SIZE", "RANK"), "2")
        assert gx.train.ClusterSpec.from_environment() == spec
        assert (world_size(), world_rank()) == ((3, 2) if variable else (None, None))

    def test_no_job(self):
        with pytest.raises(gx.ClusterError, match=r"graphc launch cluster.json program.py"):
            gx.train.ClusterSpec.from_environment()

    @pytest.mark.parametrize("size", ["2", "4"])
    def test_fewer_and_more_ranks_than_tasks(self, spec, size, monkeypatch):
        monkeypatch.setenv("GRAPHC_CLUSTER", spec.to_json())
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", size)
        with pytest.raises(gx.ClusterError, match=f"3 tasks .* MPI started {size} ranks"):
            gx.train.ClusterSpec.from_environment()

    def test_a_damaged_variable_is_named(self, monkeypatch):
        monkeypatch.setenv("GRAPHC_CLUSTER", '{"ps":')
        with pytest.raises(gx.ClusterError, match=r"GRAPHC_CLUSTER: .* no JSON"):
            gx.train.ClusterSpec.from_environment()
