# `snakemake cost`: what the configuration takes, in hours, memory and disk, before anyone starts it.


rule cost:
    log:
        "<logs>/cost.log",
    params:
        configuration=as_json(PLAN.configuration),
        cores=lambda wildcards: workflow.cores,
    message:
        "estimate the cost of {PLAN.run}"
    shell:
        "python -m workflow.steps.cost --settings {params.configuration:q} --cores {params.cores} --log {log}"
