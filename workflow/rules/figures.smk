# Figures: PDF and PNG beside the CSV of exactly what they draw, and their caption.


# `snakemake figures`: those alone, without the closing table.
rule figures:
    input:
        expand("<results>/figures/{figure}.pdf", figure=TABLE.asked_figures()),


# `snakemake sweep_policy_lr`: how the unpublished learning rate of the policy changes the curves.
rule sweep_policy_lr:
    input:
        lambda wildcards: of("figure", "outputs")([SWEEP_FIGURE])["pdf"],


rule figure:
    input:
        needs("figure"),
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
        "<logs>/figure/{figure}.log",
    benchmark:
        "<benchmarks>/figure/{figure}.jsonl"
    resources:
        **limits("figure"),
    params:
        **command("figure"),
    message:
        "draw {wildcards.figure}"
    shell:
        "python -m workflow.train {params.file:q} --log {log:q}"
