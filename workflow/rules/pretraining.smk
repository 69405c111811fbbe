# Agents of one offline method from a dataset, `agents_per_job` of them in one job.


rule pretrain:
    input:
        data=lambda wildcards: PLAN.dataset_folder(wildcards.dataset),
        start=lambda wildcards: PLAN.starting_inputs(*wildcards),
    output:
        agents=directory("<results>/agents/{dataset}/{offline}/{agents}"),
        curves="<results>/curves/{dataset}/{offline}/agents_{agents}.parquet",
    log:
        "<logs>/pretrain/{dataset}_{offline}_{agents}.log",
    benchmark:
        "<benchmarks>/pretrain/{dataset}_{offline}_{agents}.jsonl"
    threads: PLAN.training_threads
    params:
        settings=lambda wildcards: as_json(
            PLAN.pretraining(wildcards.dataset, wildcards.offline)
        ),
        seeds=lambda wildcards: PLAN.agents_of(wildcards.agents),
        start=lambda wildcards: PLAN.starting_files(*wildcards),
        run=PLAN.run,
        state=lambda wildcards: PLAN.state("pretrain", *wildcards),
    message:
        "pre-train {wildcards.offline} agents {wildcards.agents} on {wildcards.dataset}"
    shell:
        "python -m workflow.steps.pretrain --run {params.run} --dataset {wildcards.dataset}"
        " --label {wildcards.offline} --data {input.data} --agents {params.seeds} --start {params.start}"
        " --settings {params.settings:q} --state {params.state}"
        " --output {output.agents} --curves {output.curves} --log {log}"
