# `snakemake sweep_policy_lr`: how the unpublished learning rate of the policy changes the curves.


rule sweep_policy_lr:
    input:
        "<results>/sweep_policy_lr/policy_learning_rate.pdf",


rule sweep_statistics:
    input:
        sweep_curves,
    output:
        json="<results>/sweep_policy_lr/statistics.json",
        table="<results>/sweep_policy_lr/statistics.parquet",
    log:
        "<logs>/sweep_statistics.log",
    benchmark:
        "<benchmarks>/sweep_statistics.jsonl"
    params:
        settings=as_json(PLAN.judging()),
        cache=f"{PLAN.results}/statistics/cache",
    message:
        "compute the sweep's statistics"
    shell:
        "python -m workflow.steps.statistics --curves {input} --settings {params.settings:q}"
        " --cache {params.cache} --json {output.json} --table {output.table} --log {log}"


rule sweep_figure:
    input:
        statistics="<results>/sweep_policy_lr/statistics.parquet",
        curves=sweep_curves,
    output:
        pdf="<results>/sweep_policy_lr/policy_learning_rate.pdf",
        png="<results>/sweep_policy_lr/policy_learning_rate.png",
        csv="<results>/sweep_policy_lr/policy_learning_rate.csv",
        caption="<results>/sweep_policy_lr/policy_learning_rate.txt",
    log:
        "<logs>/sweep_figure.log",
    benchmark:
        "<benchmarks>/sweep_figure.jsonl"
    params:
        settings=as_json(PLAN.drawing()),
        cache=f"{PLAN.results}/statistics/cache",
    message:
        "draw the sweep"
    shell:
        "python -m workflow.steps.figure --figure policy_learning_rate --statistics {input.statistics}"
        " --curves {input.curves} --cache {params.cache} --settings {params.settings:q}"
        " --output {output.pdf} --log {log}"
