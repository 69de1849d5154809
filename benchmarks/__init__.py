"""What rtseg is measured by: each module is a command that writes one JSON result.

Run them from the repository's root, ``python -m benchmarks.peers`` for one. What is compared runs
in turns inside one process or one session, A B C A B C …, since a small machine's speed drifts by
more than what is compared.
"""
