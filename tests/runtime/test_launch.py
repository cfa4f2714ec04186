"""Real jobs under mpiexec: their output, their exit codes, and that nothing of them is left."""

import os
import signal
import time

import pytest

from tests.runtime.jobs import MARK, Job

pytestmark = [pytest.mark.mpi, pytest.mark.timeout(180)]

TWO, THREE = {"worker": 2}, {"ps": 1, "worker": 2}
WAIT = MARK + "time.sleep(120)\n"
MPIEXECS = {"default": None}
if other := os.environ.get("GRAPHC_TEST_MPIEXEC"):
    MPIEXECS["other"] = other


@pytest.fixture(params=MPIEXECS)
def job(request, tmp_path):
    """Start a job; whatever happens, nothing of it stays."""
    jobs = []

    def start(*arguments, **options):
        jobs.append(Job(tmp_path, *arguments, mpiexec=MPIEXECS[request.param], **options))
        return jobs[-1]

    yield start
    for one in jobs:
        one.kill_all()
        one.process.communicate()


def messages(err):
    return [line for line in err.splitlines() if line.startswith("graphc: ")]


class TestRunning:
    def test_each_rank_is_its_task_and_the_script_is_main(self, job):
        script = """
import graphc as gx, helper
spec = gx.train.ClusterSpec.from_environment()
print(spec.task_of(rank), MPI.COMM_WORLD.size, __name__, sys.argv[1:], helper.__file__, __file__)
print("to stderr", file=sys.stderr)
assert sys.stdin.read() == ""
assert sys.modules["__main__"].spec is spec
"""
        started = job(THREE, script, "--flag", "two words")
        started.script.with_name("helper.py").write_text("")
        ended = started.end()
        assert ended.code == 0, ended.err
        helper = started.script.with_name("helper.py")
        assert sorted(ended.out.splitlines()) == [
            f"{task}| {task} 3 __main__ ['--flag', 'two words'] {helper} {started.script}"
            for task in ("ps:0", "worker:0", "worker:1")
        ]
        assert sorted(ended.err.splitlines()) == [
            f"{task}| to stderr" for task in ("ps:0", "worker:0", "worker:1")
        ]

    def test_lines_of_several_ranks_stay_whole(self, job):
        script = "for n in range(200): print(rank, 'x' * 5000, n)\nos.write(1, b'the end')"
        ended = job(TWO, script).end()
        lines = ended.out.splitlines()
        expected = [f"worker:{r}| {r} {'x' * 5000} {n}" for r in range(2) for n in range(200)]
        assert sorted(lines) == sorted([*expected, "worker:0| the end", "worker:1| the end"])
        assert [line for line in lines if line.startswith("worker:1")][:-1] == expected[200:]

    def test_lines_come_when_they_are_written(self, job):
        started = job(TWO, "print('here')\n" + WAIT)
        assert started.process.stdout.readline().endswith("| here\n")
        started.process.terminate()
        started.end()

    @pytest.mark.parametrize(("jobs", "options"), [({"worker": 1}, ()), (TWO, ("--no-prefix",))])
    def test_output_without_prefix(self, job, jobs, options):
        ended = job(jobs, "print('accuracy=1')", options=options).end()
        assert (ended.code, set(ended.out.splitlines())) == (0, {"accuracy=1"})

    def test_a_rank_that_is_alone_is_passed_on_as_it_is(self, job):
        assert job({"worker": 1}, "os.write(1, b'50%, 100%')").end().out == "50%, 100%"

    def test_threads_and_what_is_set(self, job, monkeypatch):
        monkeypatch.delenv("GRAPHC_NUM_THREADS", raising=False)
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        script = "print(os.environ['GRAPHC_NUM_THREADS'], os.environ['OMP_NUM_THREADS'])"
        share = max(1, len(os.sched_getaffinity(0)) // 2)
        ended = job(TWO, script, options=["--no-prefix"]).end()
        assert ended.out.splitlines() == [f"{share} 3"] * 2

    def test_exit_with_0_is_none(self, job):
        ended = job(TWO, "sys.exit(0 if rank else None)").end()
        assert (ended.code, ended.out, ended.err) == (0, "", "")


FAILURES = {
    "exception": ("raise ValueError('boom')", 1, "ended with exit code 1"),
    "exit": ("sys.exit(7)", 7, "ended with exit code 7"),
    "text": ("sys.exit('in one line')", 1, "ended with exit code 1"),
    "interrupt": ("raise KeyboardInterrupt", 130, "ended with exit code 130"),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed by signal 9 (SIGKILL)"),
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "was killed by signal 11 (SIGSEGV)"),
}


class TestFailing:
    @pytest.mark.parametrize("how", FAILURES)
    def test_one_rank_ends_the_job_and_is_named(self, job, how):
        statement, code, told = FAILURES[how]
        started = job(THREE, MARK + f"MPI.COMM_WORLD.barrier()\nif rank == 1: {statement}\n" + WAIT)
        started.await_ranks(3)
        ended = started.end()
        assert ended.code == code, ended.err
        assert messages(ended.err) == [f"graphc: worker:0 (rank 1) {told}; the job was stopped"]
        assert ended.seconds < 5

    def test_a_traceback_is_told_once_and_begins_in_the_script(self, job):
        ended = job(THREE, "if rank == 1: 1 / 0\ntime.sleep(120)").end()
        lines = [line for line in ended.err.splitlines() if line.startswith("worker:0| ")]
        assert lines[0] == "worker:0| Traceback (most recent call last):"
        assert "script.py" in lines[1]
        assert ended.err.count("ZeroDivisionError: division by zero") == 1
        assert "runpy" not in ended.err
        assert "rank.py" not in ended.err

    def test_before_mpi_is_there(self, job):
        script = "import os, time\nrank = os.environ.get('PMI_RANK') or os.environ['PMIX_RANK']\n"
        script += "if rank == '1': raise SystemExit(4)\ntime.sleep(120)"
        ended = job(TWO, script, preamble=False).end()
        assert (ended.code, len(messages(ended.err))) == (4, 1)
        assert "worker:1 (rank 1) ended with exit code 4" in ended.err

    def test_a_syntax_error(self, job):
        ended = job(TWO, "def f(:\n", preamble=False).end()
        assert ended.code == 1
        assert 'script.py", line 1' in ended.err
        assert len(messages(ended.err)) == 1

    def test_an_abort_by_mpi(self, job):
        ended = job(TWO, "if rank == 1: MPI.COMM_WORLD.Abort(5)\ntime.sleep(120)").end()
        assert ended.code == 5
        assert len(messages(ended.err)) == 1

    def test_a_thread_that_does_not_end(self, job):
        script = (
            "import threading\nif rank: threading.Thread(target=time.sleep, args=[120]).start()"
        )
        ended = job(TWO, script + "\nif rank: sys.exit(3)\ntime.sleep(120)").end(30)
        assert ended.code == 3

    def test_handlers_at_exit_are_run(self, job):
        script = "import atexit\natexit.register(print, 'cleaned up')\n"
        ended = job(TWO, script + "if rank: sys.exit(3)\ntime.sleep(120)").end()
        assert "worker:1| cleaned up\n" in ended.out

    def test_a_rank_that_another_process_kills(self, job):
        started = job(THREE, WAIT)
        ranks = started.await_ranks(3)
        os.kill(ranks[2], signal.SIGKILL)
        ended = started.end()
        assert ended.code == 137
        assert messages(ended.err) == [
            "graphc: worker:1 (rank 2) was killed by signal 9 (SIGKILL); the job was stopped"
        ]
        assert ended.seconds < 5


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_to_the_launcher_ends_all(self, job, number):
        started = job(TWO, WAIT)
        started.await_ranks(2)
        started.process.send_signal(number)
        ended = started.end()
        assert ended.code == 128 + number
        assert messages(ended.err) == [f"graphc: the job stopped by {number.name}"]
        assert ended.seconds < 6

    def test_ranks_that_ignore_signals(self, job):
        ignore = "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
        started = job(TWO, ignore + WAIT)
        started.await_ranks(2)
        started.process.terminate()
        assert started.end().seconds < 8

    def test_the_launcher_is_killed(self, job):
        started = job(TWO, "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n" + WAIT)
        started.await_ranks(2)
        started.process.kill()
        started.process.wait()
        started.expect_nothing_left()

    def test_mpiexec_is_killed(self, job):
        started = job(TWO, WAIT)
        ranks = started.await_ranks(2)
        others = started.processes().keys() - set(ranks.values()) - {started.process.pid}
        for process in others:
            os.kill(process, signal.SIGKILL)
        ended = started.end()
        assert ended.code == 137
        assert len(messages(ended.err)) == 1
        assert ended.seconds < 5

    def test_a_time_limit(self, job):
        ended = job(TWO, "print('x')\n" + WAIT, options=["--timeout", "4"]).end()
        assert ended.code == 124
        assert messages(ended.err) == [
            "graphc: the job did not end within 4 s; still running: worker:0, worker:1"
        ]

    def test_nobody_reads_the_output(self, job):
        started = job(TWO, MARK + "while True: print('x' * 100); time.sleep(0.01)")
        started.await_ranks(2)
        started.process.stdout.close()
        deadline = time.monotonic() + 10
        while started.process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert started.process.returncode == 128 + signal.SIGPIPE
        started.expect_nothing_left()
