# The end: statistics, where each method starts and ends, the verdict on each claim, the error against each published
# curve.


rule statistics:
    input:
        needs("statistics"),
    output:
        json="<results>/{comparison}/statistics.json",
        table="<results>/{comparison}/statistics.parquet",
    log:
        "<logs>/statistics/{comparison}.log",
    benchmark:
        "<benchmarks>/statistics/{comparison}.jsonl"
    resources:
        **limits("statistics"),
    params:
        **command("statistics"),
    message:
        "compute statistics"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


rule reproduction:
    input:
        needs("reproduction"),
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
    resources:
        **limits("reproduction"),
    params:
        **command("reproduction"),
    message:
        "judge the claims and write the closing table"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"


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


onsuccess:
    write_checksums(RESULTS)
    table = Path(RESULTS, "reproduction.txt")
    if table.exists():
        print(f"\n{table.read_text()}\nFigures: {RESULTS}/figures/", flush=True)
