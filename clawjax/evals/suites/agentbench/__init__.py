"""AgentBench (Liu et al. 2023, arXiv:2308.03688): its tasks as suites, its rules, its protocol.

Rules follow THUDM/AgentBench, branch v0.2 (the paper's) and main (function calls); where they were
read from is said in each module.
"""
