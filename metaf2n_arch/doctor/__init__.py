"""The doctor: what is installed, which devices and weights there are, and what each command lacks."""
