# Entry of the workflow: the configuration and the rules of each room. config/README.md explains both.
if not workflow.configfiles:

    configfile: f"{workflow.current_basedir}/config/pilot.yaml"


include: "workflow/rules/common.smk"


# Each run keeps its results apart, under its configuration's name.
pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


report: "workflow/report/workflow.rst"


# What `make setup` needs, Python and make; read only where --sdm apptainer is given.
container: "docker://python:3.11"


include: "workflow/rules/jobs.smk"
include: "workflow/rules/targets.smk"


rule all:
    default_target: True
    input:
        "<results>/reproduction.txt",
        "<results>/verdict",
        rules.figures.input,
