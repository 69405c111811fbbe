# What a person asks for by name, beside files: figures, the verdict, and what is printed.


# `snakemake figures`: those alone, without the closing table.
rule figures:
    input:
        expand("<results>/figures/{figure}.pdf", figure=TABLE.plan.figures.names()),


# `snakemake sweep_policy_lr`: how the unpublished learning rate of the policy changes the curves.
rule sweep_policy_lr:
    input:
        lambda wildcards: of("figure", "outputs")([SWEEP_FIGURE])["pdf"],


# Apart from `reproduction`, whose outputs a failure would delete: they say why.
rule verdict:
    input:
        "<results>/reproduction.json",
    output:
        touch("<results>/verdict"),
    log:
        "<logs>/verdict.log",
    params:
        fail_on=expand(
            "--fail-on {verdict}",
            verdict=TABLE.plan.configuration["statistics"].get("fail_on", []),
        ),
    message:
        "look at the verdicts"
    shell:
        "python -m analysis.verdicts --reproduction {input} {params.fail_on} 2>&1 | tee {log}"
        ' || {{ cat {log} >> "$OFF2ON_FAILURES"; exit 1; }}'


# `snakemake plan`: the jobs of the configuration, in a page.
rule plan:
    log:
        "<logs>/plan.log",
    params:
        file=TABLE.find("plan").file,
    message:
        "list the jobs of {TABLE.plan.places.run}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


# `snakemake cost`: what they take, in hours, memory and disk.
rule cost:
    log:
        "<logs>/cost.log",
    params:
        file=TABLE.find("cost").file,
        cores=lambda wildcards: workflow.cores,
    message:
        "estimate the cost of {TABLE.plan.places.run}"
    shell:
        "python -m workflow.steps.cost {params.file:q} --cores {params.cores} --log {log:q}"


# `snakemake leaderboard`: results/leaderboard.md from all committed curves, whatever the configuration.
rule leaderboard:
    log:
        "<logs>/leaderboard.log",
    message:
        "write results/leaderboard.md"
    shell:
        "python -m workflow.leaderboard --log {log:q}"


onsuccess:
    write_checksums(RESULTS)
    table = Path(RESULTS, "reproduction.txt")
    if table.exists():
        print(f"\n{table.read_text()}\nFigures: {RESULTS}/figures/", flush=True)
