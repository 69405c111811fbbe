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
        of("figure", "needs"),
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
        mem_mb=resource("figure", "mem_mb"),
        disk_mb=resource("figure", "disk_mb"),
        runtime=resource("figure", "runtime"),
    params:
        step=of("figure", "step"),
        file=of("figure", "file"),
        fingerprint=of("figure", "fingerprint"),
    message:
        "draw {wildcards.figure}"
    shell:
        "python -m {params.step} {params.file:q} --log {log:q}"
