# Entry of the workflow: the configuration and the rules of each room. config/README.md explains both.
if not workflow.configfiles:

    configfile: "config/pilot.yaml"


include: "workflow/rules/common.smk"


# Each run keeps its results apart, under its configuration's name.
pathvars:
    results=PLAN.results,
    logs=f"{PLAN.results}/logs",
    benchmarks=f"{PLAN.results}/benchmarks",


report: "workflow/report/workflow.rst"


# What `make setup` needs, Python and make; read only where --sdm apptainer is given.
container: "docker://python:3.11"


include: "workflow/rules/datasets.smk"
include: "workflow/rules/pretraining.smk"
include: "workflow/rules/fine_tuning.smk"
include: "workflow/rules/likelihood.smk"
include: "workflow/rules/manipulation.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/reproduction.smk"
include: "workflow/rules/cost.smk"


rule all:
    default_target: True
    input:
        "<results>/reproduction.txt",
        "<results>/verdict",
        rules.figures.input,
        MANIPULATION.gifs(),
        MANIPULATION.curves(),
        MANIPULATION.control_curves(),
