# Figures: PDF and PNG beside the CSV of exactly what they draw, and their caption.


# `snakemake figures`: those alone, without the closing table.
rule figures:
    input:
        expand("<results>/figures/{figure}.pdf", figure=PLAN.figures()),
        expand("<results>/figures/{figure}.pdf", figure=MANIPULATION.figures),


rule figure:
    input:
        statistics="<results>/statistics/statistics.parquet",
        curves=PLAN.curves(),
        likelihoods=lambda wildcards: (
            PLAN.likelihoods() if wildcards.figure == "figure_01a" else []
        ),
    output:
        pdf="<results>/figures/{figure}.pdf",
        png=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{figure}",
            labels={"what": "figure"},
        ),
        csv=report(
            "<results>/figures/{figure}.csv",
            caption="../report/drawn.rst",
            category="Figures",
            subcategory="{figure}",
            labels={"what": "what it draws"},
        ),
        caption=report(
            "<results>/figures/{figure}.txt",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{figure}",
            labels={"what": "caption"},
        ),
    log:
        "<logs>/figures/{figure}.log",
    benchmark:
        "<benchmarks>/figures/{figure}.jsonl"
    params:
        settings=as_json(PLAN.drawing()),
        cache=f"{PLAN.results}/statistics/cache",
    message:
        "draw {wildcards.figure}"
    shell:
        "python -m workflow.steps.figure --figure {wildcards.figure} --statistics {input.statistics}"
        " --curves {input.curves} --likelihoods {input.likelihoods} --cache {params.cache}"
        " --settings {params.settings:q} --output {output.pdf} --log {log}"
