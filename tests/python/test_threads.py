"""Calls from several Python threads at once, and after a fork."""

import concurrent.futures
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import metalhead as mh
from cases import Dims, check, make_qkv, random_array

THREADS = 4
pytestmark = pytest.mark.threads


def together(bodies):
    """Run the bodies in threads of their own, released at one moment; raise what any of them raised."""
    barrier = threading.Barrier(len(bodies))

    def start(body):
        barrier.wait()
        return body()

    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        return [future.result() for future in [pool.submit(start, body) for body in bodies]]


def test_different_problems_at_once(device, budget):
    """Every thread works on shapes of its own, with all operations in turn."""
    rounds = len(budget.thin(range(20)))

    def worker(number):
        def body():
            for turn in range(rounds):
                dims = Dims(
                    query_heads=4, query_length=1 + (number + turn) % 16, kv_length=50 + 31 * number + turn
                )
                q, k, v = make_qkv(dims, seed=number)
                operation = (mh.sdpa, mh.flash_attn_vec)[turn % 2]
                check(
                    operation, q, k, v, return_lse=True, context=f"thread {number} turn {turn}", device=device
                )

        return body

    together([worker(number) for number in range(THREADS)])


def test_one_problem_shared_by_all(device, budget):
    q, k, v = make_qkv(Dims(query_heads=8, kv_heads=2, query_length=4, kv_length=300))
    expected = mh.flash_attn_vec(q, k, v, device=device)

    def body():
        out = np.empty_like(q)
        for _ in range(len(budget.thin(range(30)))):
            mh.flash_attn_vec(q, k, v, out=out, device=device)
            np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)

    together([body] * THREADS)


def test_errors_in_one_thread_do_not_disturb_others(device, budget):
    q, k, v = make_qkv(Dims(query_heads=4, kv_length=100))
    rounds = range(len(budget.thin(range(30))))

    def good():
        for _ in rounds:
            check(mh.sdpa, q, k, v, device=device)

    def bad():
        for _ in rounds:
            with pytest.raises(ValueError, match="kv_lengths"):
                mh.sdpa(q, k, v, kv_lengths=[101], device=device)

    together([good, bad, good, bad])


def test_arrays_made_and_dropped_by_all(device, budget):
    """The pool hands no buffer to two threads at once."""

    def worker(number):
        def body():
            for turn in range(len(budget.thin(range(60)))):
                a = mh.zeros((1 + turn % 7, 500), "float32", device=device)
                a.numpy()[...] = number
                b = mh.asarray(random_array(number, (64,)), device=device)
                assert (a.numpy() == number).all()
                assert np.array_equal(b.numpy(), random_array(number, (64,)))

        return body

    together([worker(number) for number in range(THREADS)])


def test_other_threads_run_during_a_call(device, budget):
    """The interpreter is free while kernels run: another thread counts on during the call."""
    if device != "cpu":
        pytest.skip("calls of this device return before the work is done")
    q, k, v = make_qkv(Dims(query_heads=8, query_length=64, kv_length=4000, head_dim=128, value_dim=128))
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    # No thread is made to give way: this one lets the other run only where a call lets go of the lock.
    counter = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        counter.start()
        before = counted[0]
        # One call may be over before a busy machine gives the other thread a core.
        for _ in range(200):
            mh.sdpa(q, k, v, device=device)
            if counted[0] > before:
                break
        during = counted[0] - before
    finally:
        stop.set()
        counter.join()
        sys.setswitchinterval(interval)
    assert during > 0


def run_script(script):
    """Run Python code in a process of its own, and keep what it says."""
    return subprocess.run(
        [sys.executable, "-c", script], timeout=120, capture_output=True, text=True, check=False
    )


FORK = """
    import os, sys
    import numpy as np
    import metalhead as mh

    device = {device!r}
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 8, n, 64)).astype(np.float32) for n in (4, 600, 600))
    before = mh.flash_attn_vec(q, k, v, device=device)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            ok = np.allclose(mh.flash_attn_vec(q, k, v, device=device), before, atol=1e-6)
            os._exit(0 if ok else 1)
        children.append(child)
    again = mh.flash_attn_vec(q, k, v, device=device)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert np.allclose(again, before, atol=1e-6)
    assert codes == [0, 0, 0], codes
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_calls_after_fork(device):
    if device != "cpu":
        pytest.skip("a GPU's driver does not survive a fork")
    script = textwrap.dedent(FORK).format(device=device)
    done = run_script(script)
    assert done.returncode == 0, done.stderr


def test_interpreter_exits_while_a_thread_calls(device):
    """The process ends cleanly although a daemon thread is inside a call or about to make one."""
    script = textwrap.dedent(f"""
        import threading, time
        import numpy as np
        import metalhead as mh
        q, k, v = (np.zeros((1, 4, n, 64), np.float32) for n in (4, 500, 500))

        def body():
            while True:
                mh.flash_attn_vec(q, k, v, device={device!r})

        for _ in range(2):
            threading.Thread(target=body, daemon=True).start()
        time.sleep(0.2)
    """)
    done = run_script(script)
    assert done.returncode == 0, (done.returncode, done.stderr)
