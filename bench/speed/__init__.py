"""What `bench/cpu.py` and `bench/gpu.py` share: random models of real size, modes, arms, timing and tables.

Arms, all on the same random weights and with the same noise:
    S0  upstream-style: diffusers' pipelines as a script of the original kind sets them up
    S1  the same, set up as well as that allows: LoRA merged beforehand, channels_last
    S2  S1 with its UNet compiled
    O   this project, exact
    T   this project with its declared approximations
"""
