"""The FIB: which routes the kernel should hold, and what has to change for it (see `calicopy.fib.fib`)."""
