# rliable statistics over all methods, datasets and seeds.


rule statistics:
    input:
        PLAN.curves(),
    output:
        json="<results>/statistics/statistics.json",
        table="<results>/statistics/statistics.parquet",
    log:
        "<logs>/statistics.log",
    benchmark:
        "<benchmarks>/statistics.jsonl"
    params:
        settings=as_json(PLAN.judging()),
        # Not an output, which would be deleted: intervals are kept by content.
        cache=f"{PLAN.results}/statistics/cache",
    message:
        "compute statistics"
    shell:
        "python -m workflow.steps.statistics --curves {input} --settings {params.settings:q}"
        " --cache {params.cache}"
        " --json {output.json} --table {output.table} --log {log}"
