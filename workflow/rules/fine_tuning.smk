# Online methods: from pre-trained agents or from scratch, `seeds_per_job` seeds in one job.


rule fine_tune:
    input:
        data=lambda wildcards: PLAN.offline_data(wildcards.dataset, wildcards.label),
        agents=lambda wildcards: PLAN.agent_inputs(
            wildcards.dataset, wildcards.label, wildcards.seeds
        ),
    output:
        "<results>/curves/{dataset}/{label}/seeds_{seeds}.parquet",
    log:
        "<logs>/fine_tune/{dataset}_{label}_{seeds}.log",
    benchmark:
        "<benchmarks>/fine_tune/{dataset}_{label}_{seeds}.jsonl"
    threads: PLAN.training_threads
    params:
        settings=lambda wildcards: as_json(
            PLAN.fine_tuning(wildcards.dataset, wildcards.label)
        ),
        members=lambda wildcards: PLAN.member_files(
            wildcards.dataset, wildcards.label, wildcards.seeds
        ),
        seeds=lambda wildcards: wildcards.seeds.split("-"),
        run=PLAN.run,
        state=lambda wildcards: PLAN.state("fine_tune", *wildcards),
    message:
        "fine-tune {wildcards.label} on {wildcards.dataset}, seeds {wildcards.seeds}"
    shell:
        "python -m workflow.steps.fine_tune --run {params.run} --dataset {wildcards.dataset}"
        " --label {wildcards.label} --seeds {params.seeds} --data {input.data} --members {params.members}"
        " --settings {params.settings:q} --state {params.state} --output {output} --log {log}"
