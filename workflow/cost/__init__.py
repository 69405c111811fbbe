"""What a configuration costs before anyone starts it: time of each stage, memory and disk of its jobs.

`machine` has the seconds of what jobs are made of on the processor at hand, `gpu` on a GPU; `training` puts
jobs that learn together from them, `estimate` all jobs of a plan; `jobs` adds them up.
"""
