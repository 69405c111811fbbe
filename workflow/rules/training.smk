# One phase of one method on one dataset, some agents or seeds of it side by side, and what is measured of agents.


rule train:
    input:
        of("train", "needs"),
    output:
        agents=directory("<results>/agents/{dataset}/{label}/{job}"),
        curves="<results>/curves/{dataset}/{label}/{job}.parquet",
    log:
        "<logs>/train/{dataset}/{label}/{job}.log",
    benchmark:
        "<benchmarks>/train/{dataset}/{label}/{job}.jsonl"
    threads: of("train", "threads")
    resources:
        mem_mb=resource("train", "mem_mb"),
        disk_mb=resource("train", "disk_mb"),
        runtime=resource("train", "runtime"),
    params:
        step=of("train", "step"),
        file=of("train", "file"),
        fingerprint=of("train", "fingerprint"),
    message:
        "train {wildcards.label} on {wildcards.dataset}, {wildcards.job}"
    shell:
        "python -m {params.step} {params.file:q} --log {log:q}"


# Figure 1a: how likely an agent's online samples are under its offline data.
rule likelihood:
    input:
        of("likelihood", "needs"),
    output:
        "<results>/likelihood/{dataset}.parquet",
    log:
        "<logs>/likelihood/{dataset}.log",
    benchmark:
        "<benchmarks>/likelihood/{dataset}.jsonl"
    resources:
        mem_mb=resource("likelihood", "mem_mb"),
        disk_mb=resource("likelihood", "disk_mb"),
        runtime=resource("likelihood", "runtime"),
    params:
        step=of("likelihood", "step"),
        file=of("likelihood", "file"),
        fingerprint=of("likelihood", "fingerprint"),
    message:
        "estimate likelihoods on {wildcards.dataset}"
    shell:
        "python -m {params.step} {params.file:q} --log {log:q}"
