# The table at the end: where each method starts and ends on each dataset.


rule reproduction:
    input:
        "<results>/statistics/statistics.parquet",
    output:
        text=report(
            "<results>/reproduction.txt",
            caption="../report/reproduction.rst",
            category="Table",
        ),
        markdown="<results>/reproduction.md",
        csv="<results>/reproduction.csv",
    log:
        "<logs>/reproduction.log",
    benchmark:
        "<benchmarks>/reproduction.jsonl"
    params:
        sources=PLAN.judging()["fingerprint"],
    message:
        "write the closing table"
    shell:
        "python -m workflow.steps.reproduction --statistics {input}"
        " --text {output.text} --markdown {output.markdown} --csv {output.csv} --log {log}"


onsuccess:
    table = Path(PLAN.results, "reproduction.txt")
    if table.exists():
        print(
            f"\n{table.read_text()}\nFigures: {PLAN.results}/figures/", flush=True
        )
