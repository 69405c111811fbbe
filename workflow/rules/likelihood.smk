# Figure 1a: how likely an agent's online samples are under its offline data.


rule likelihood:
    input:
        data=lambda wildcards: PLAN.dataset_folder(wildcards.dataset),
        agent=lambda wildcards: PLAN.likelihood_agent(wildcards.dataset),
    output:
        "<results>/likelihood/{dataset}.parquet",
    log:
        "<logs>/likelihood/{dataset}.log",
    benchmark:
        "<benchmarks>/likelihood/{dataset}.jsonl"
    params:
        settings=lambda wildcards: as_json(PLAN.likelihood(wildcards.dataset)),
        agent=lambda wildcards: PLAN.agent_file(wildcards.dataset, "cql", 0),
    message:
        "estimate likelihoods on {wildcards.dataset}"
    shell:
        "python -m workflow.steps.likelihood --dataset {wildcards.dataset} --data {input.data}"
        " --agent {params.agent} --settings {params.settings:q} --output {output} --log {log}"
