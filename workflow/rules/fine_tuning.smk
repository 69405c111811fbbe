# Online methods: from pre-trained agents or from scratch, `seeds_per_job` seeds in one job.


rule fine_tune:
    input:
        data=lambda wildcards: PLAN.offline_data(wildcards.dataset, wildcards.method),
        agents=lambda wildcards: PLAN.agent_inputs(
            wildcards.dataset, wildcards.method, wildcards.seeds
        ),
    output:
        "<results>/curves/{dataset}/{method}/seeds_{seeds}.parquet",
    log:
        "<logs>/fine_tune/{dataset}_{method}_{seeds}.log",
    benchmark:
        "<benchmarks>/fine_tune/{dataset}_{method}_{seeds}.jsonl"
    params:
        settings=lambda wildcards: as_json(
            PLAN.fine_tuning(wildcards.dataset, wildcards.method)
        ),
        members=lambda wildcards: PLAN.member_files(
            wildcards.dataset, wildcards.method, wildcards.seeds
        ),
        seeds=lambda wildcards: wildcards.seeds.split("-"),
        run=PLAN.run,
        state=lambda wildcards: PLAN.state("fine_tune", *wildcards),
    message:
        "fine-tune {wildcards.method} on {wildcards.dataset}, seeds {wildcards.seeds}"
    shell:
        "python -m workflow.steps.fine_tune --run {params.run} --dataset {wildcards.dataset}"
        " --method {wildcards.method} --seeds {params.seeds} --data {input.data} --members {params.members}"
        " --settings {params.settings:q} --state {params.state} --output {output} --log {log}"
