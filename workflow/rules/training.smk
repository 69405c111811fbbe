# One phase of one method on one dataset, some agents or seeds of it side by side, and what is measured of agents.


rule train:
    input:
        needs("train"),
    output:
        agents=directory("<results>/agents/{dataset}/{label}/{job}"),
        curves="<results>/curves/{dataset}/{label}/{job}.parquet",
    log:
        "<logs>/train/{dataset}/{label}/{job}.log",
    benchmark:
        "<benchmarks>/train/{dataset}/{label}/{job}.jsonl"
    threads: of("train", "threads")
    resources:
        **limits("train"),
    params:
        **command("train"),
    message:
        "train {wildcards.label} on {wildcards.dataset}, {wildcards.job}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


# Who made which trajectory as it was estimated, beside who did, and how likely fresh trajectories are.
rule behaviours:
    input:
        needs("behaviours"),
    output:
        behaviours="<results>/behaviours/{dataset}/{label}.parquet",
        measures="<results>/behaviours/{dataset}/{label}.measures.parquet",
    log:
        "<logs>/behaviours/{dataset}/{label}.log",
    benchmark:
        "<benchmarks>/behaviours/{dataset}/{label}.jsonl"
    resources:
        **limits("behaviours"),
    params:
        **command("behaviours"),
    message:
        "measure the behaviours of {wildcards.label} on {wildcards.dataset}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


# Figure 1a: how likely an agent's online samples are under its offline data.
rule likelihood:
    input:
        needs("likelihood"),
    output:
        "<results>/likelihood/{dataset}.parquet",
    log:
        "<logs>/likelihood/{dataset}.log",
    benchmark:
        "<benchmarks>/likelihood/{dataset}.jsonl"
    resources:
        **limits("likelihood"),
    params:
        **command("likelihood"),
    message:
        "estimate likelihoods on {wildcards.dataset}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"
