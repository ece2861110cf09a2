"""Measurements, by question: README.md beside this file says which script answers which one."""
