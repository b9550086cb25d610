"""measure.py LOG WORD...: runs a command with its output in LOG; prints seconds, CPU seconds, peak memory and exit status as JSON.

A process of its own, because a child's peak memory begins with that of the process it was forked from: this one is small."""

import json
import os
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            os.execvp(sys.argv[2], sys.argv[2:])
        except OSError as error:
            os.write(2, f"{sys.argv[2]}: {error.strerror}\n".encode())
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu_seconds": usage.ru_utime + usage.ru_stime,
                      "peak_mb": usage.ru_maxrss / 1024, "status": os.waitstatus_to_exitcode(status)}))
