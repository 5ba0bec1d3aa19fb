"""The thin adapter to the kernel; the only package that imports pyfuse3."""
