"""CPUs: schedules from ``ir.compute`` to loops, loops to LLVM IR, LLVM IR to machine code."""
