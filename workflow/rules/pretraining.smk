# CQL agents from a dataset, `agents_per_job` of them in one job.


rule pretrain:
    input:
        data=lambda wildcards: PLAN.dataset_folder(wildcards.dataset),
        start=lambda wildcards: PLAN.starting_agents(*wildcards),
    output:
        agents=directory("<results>/agents/{dataset}/{agents}"),
        curves="<results>/curves/{dataset}/cql/agents_{agents}.parquet",
    log:
        "<logs>/pretrain/{dataset}_{agents}.log",
    benchmark:
        "<benchmarks>/pretrain/{dataset}_{agents}.jsonl"
    params:
        settings=lambda wildcards: as_json(PLAN.pretraining(wildcards.dataset)),
        seeds=lambda wildcards: PLAN.agents_of(wildcards.agents),
        run=PLAN.run,
        state=lambda wildcards: PLAN.state("pretrain", *wildcards),
    message:
        "pre-train CQL agents {wildcards.agents} on {wildcards.dataset}"
    shell:
        "python -m workflow.steps.pretrain --run {params.run} --dataset {wildcards.dataset}"
        " --data {input.data} --agents {params.seeds} --start {input.start} --settings {params.settings:q} --state {params.state}"
        " --output {output.agents} --curves {output.curves} --log {log}"
