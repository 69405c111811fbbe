# `snakemake leaderboard`: results/leaderboard.md from all committed curves, whatever the configuration.
# `snakemake plan`: the jobs of the configuration, in a page. `snakemake cost`: what they take, in hours, memory and disk.


rule plan:
    log:
        "<logs>/plan.log",
    params:
        file=TABLE.find("plan").file,
    message:
        "list the jobs of {TABLE.plan.run}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


rule cost:
    log:
        "<logs>/cost.log",
    params:
        file=TABLE.find("cost").file,
        cores=lambda wildcards: workflow.cores,
    message:
        "estimate the cost of {TABLE.plan.run}"
    shell:
        "python -m workflow.steps.cost {params.file:q} --cores {params.cores} --log {log:q}"


rule leaderboard:
    log:
        "<logs>/leaderboard.log",
    message:
        "write results/leaderboard.md"
    shell:
        "python -m workflow.leaderboard --log {log:q}"
