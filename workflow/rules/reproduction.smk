# The end: where each method starts and ends, the verdict on each claim, the error against each published curve.


rule reproduction:
    input:
        statistics=(
            ["<results>/statistics/statistics.parquet"] if PLAN.curves() else []
        ),
        curves=[*PLAN.claimed_curves(), *MANIPULATION.curves()],
        claims=PLAN.configuration.get("claims", []),
    output:
        text=report(
            "<results>/reproduction.txt",
            caption="../report/reproduction.rst",
            category="Table",
        ),
        markdown="<results>/reproduction.md",
        csv="<results>/reproduction.csv",
        json="<results>/reproduction.json",
        errors="<results>/reproduction_error.csv",
        errors_markdown="<results>/reproduction_error.md",
    log:
        "<logs>/reproduction.log",
    benchmark:
        "<benchmarks>/reproduction.jsonl"
    params:
        settings=as_json(MANIPULATION.judging(PLAN.judging())),
        cache=f"{PLAN.results}/statistics/cache",
    message:
        "judge the claims and write the closing table"
    shell:
        "python -m workflow.steps.reproduction --statistics {input.statistics} --curves {input.curves}"
        " --claims {input.claims:q} --settings {params.settings:q} --cache {params.cache} --text {output.text} --markdown {output.markdown} --csv {output.csv}"
        " --json {output.json} --errors {output.errors} --log {log}"


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
            verdict=PLAN.configuration["statistics"].get("fail_on", []),
        ),
    message:
        "look at the verdicts"
    shell:
        "python -m analysis.claims --reproduction {input} {params.fail_on} 2>&1 | tee {log}"


onsuccess:
    write_checksums(PLAN.results)
    table = Path(PLAN.results, "reproduction.txt")
    if table.exists():
        print(
            f"\n{table.read_text()}\nFigures: {PLAN.results}/figures/", flush=True
        )
