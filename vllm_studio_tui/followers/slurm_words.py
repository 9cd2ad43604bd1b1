"""SLURM's words for people: why a job waits, why it ended, why it was refused, and what can be done about it."""

from __future__ import annotations

import re

from vllm_studio_tui.domain.job import Cause

#: States in which a job has no nodes yet, has them but not its script, or has ended. In all others it goes on.
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
PREPARED = {"CONFIGURING", "POWER_UP_NODE"}
ENDED = {
    "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL",
    "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL",
}  # fmt: skip

#: Why a job waits, by the begin of SLURM's reason: in words, and what a person has to do; empty: time alone helps.
#: The first that fits counts.
REASONS = (
    ("Resources", "the nodes are busy", ""),
    ("Priority", "other jobs are before it", ""),
    ("BeginTime", "its time to begin has not come", ""),
    ("None", "SLURM has not looked at it yet", ""),
    ("Prolog", "its nodes are prepared", ""),
    ("Nodes required", "nodes that it needs are down, drained or kept for other jobs",
     "See sinfo -R; take another partition or other nodes, or wait."),
    ("NodeDown", "a node that it needs is down", "Take other nodes in handover.options, or wait for the node."),
    ("ReqNodeNotAvail", "a node that it needs is not available: down, drained or reserved",
     "See sinfo -R; take another partition or other nodes, or wait."),
    ("Reservation", "its reservation has not begun", ""),
    ("Licenses", "a licence is not free", ""),
    ("Cleaning", "its last attempt is cleaned up", ""),
    ("JobHeldUser", "it is held", "scontrol release lets it go on."),
    ("JobHeldAdmin", "an administrator holds it", "Ask them: only they can release it."),
    ("JobLaunchFailure", "it could not be started on its nodes", "Stop it, and ask the administrators of the nodes."),
    ("launch failed requeued held", "it could not be started on its nodes and is held",
     "Stop it, and ask the administrators of the nodes."),
    ("DependencyNeverSatisfied", "the job that it depends on did not end as was asked for",
     "It never starts: stop it, and launch it without that dependency."),
    ("Dependency", "another job has to end first", ""),
    ("PartitionTimeLimit", "it asks for more time than its partition allows",
     "It does not start like this: lower handover.time_limit, or take another partition."),
    ("PartitionNodeLimit", "it asks for more nodes than its partition allows",
     "It does not start like this: lower handover.nodes, or take another partition."),
    ("PartitionDown", "its partition is down", "Take another partition, or wait."),
    ("PartitionInactive", "its partition takes no jobs now", "Take another partition, or wait."),
    ("PartitionConfig", "its partition does not allow what it asks for",
     "It does not start like this: see scontrol show partition."),
    ("AccountNotAllowed", "its account may not use the partition", "Name another in handover.account or partition."),
    ("QOSNotAllowed", "its QOS may not use the partition", "Name another partition, or --qos in handover.options."),
    ("QOSTimeLimit", "it asks for more time than its QOS has left", "Lower handover.time_limit."),
    ("InvalidAccount", "there is no such account", "Name another in handover.account: sacctmgr show user $USER."),
    ("InvalidQOS", "there is no such QOS", "Name another with --qos in handover.options."),
    ("BadConstraints", "no node has what it asks for", "Ask for less, or for another accelerator: sinfo -o '%N %G'."),
    ("NodeNotAvail", "no node has what it asks for", "Ask for less: sinfo -o '%N %c %m %G' says what there is."),
    ("Deadline", "it cannot end before its deadline any more", "Stop it, and launch it with another deadline."),
)  # fmt: skip
#: Limits of accounts and QOS: `QOSMaxGRESPerUser`, `AssocGrpCPUMinutesLimit`, `QOSMaxJobsPerUserLimit`.
_LIMIT = re.compile(r"(QOS|Assoc|Association|MaxGRES|MaxCpu|MaxMem|MaxNode|JobArrayTaskLimit)")
#: A limit of one job: no time helps.
_JOB_LIMIT = re.compile(r"PerJob|PerNode|MaxWall|MinGRES|MinCpu|TimeLimit")

#: What sbatch says when it refuses, as a pattern: the slug, what it means, what to do. The first that fits counts.
REFUSALS = tuple(
    (re.compile(pattern, re.IGNORECASE), slug, title, advice)
    for pattern, slug, title, advice in (
        (r"invalid partition|partition .* not (available|specified)", "slurm_partition", "there is no such partition",
         "sinfo -s lists those that there are; name one in handover.partition."),
        (r"invalid account|account/partition combination|not have .*account", "slurm_account",
         "the account is not known, or may not use that partition",
         "sacctmgr show assoc user=$USER lists them; name one in handover.account."),
        (r"invalid qos", "slurm_qos", "there is no such QOS", "Name another with --qos in handover.options."),
        (r"violates accounting/qos policy|job submit limit|exceeds? .*limit", "slurm_limit",
         "a limit of the account or QOS forbids it",
         "Lower nodes, GPUs or time_limit, stop other jobs, or ask for a larger limit."),
        (r"memory (specification|required)", "slurm_memory", "no node has so much memory", "Lower handover.memory."),
        (r"requested time limit|invalid --time|time limit .*invalid", "slurm_time", "the time limit is not allowed",
         "Write handover.time_limit as D-HH:MM:SS, not longer than the partition's: sinfo -o '%P %l'."),
        (r"configuration is not available|cannot be satisfied|invalid generic resource|gres", "slurm_resources",
         "no node has what it asks for",
         "sinfo -o '%P %N %c %m %G' says what there is: ask for fewer GPUs, less memory or another accelerator."),
        (r"node count|more processors|too many nodes", "slurm_nodes", "it asks for more nodes than there are",
         "Lower handover.nodes."),
        (r"unrecognized option|invalid option|invalid --|invalid .*specification|unknown option", "slurm_option",
         "sbatch does not know an option", "Correct handover.options, cpus and memory: sbatch --help."),
        (r"access/permission denied|user .* not permitted|invalid user", "slurm_permission",
         "SLURM does not let this user submit there", "Ask the administrators for access, or name another partition."),
        (r"could not establish a configuration source|slurm.conf", "slurm_not_set_up",
         "this machine belongs to no SLURM cluster",
         "Start the studio on a login node, or set SLURM_CONF to the cluster's slurm.conf."),
    )
)  # fmt: skip
#: What is said when nobody answers, or not now: it is tried again.
PASSING = re.compile(
    r"unable to contact|connection (refused|timed out|failure)|connect failure|socket timed out|zero bytes were trans"
    r"|temporarily unable|unexpected message|in standby|timed out|i/o error|try again|resource temporarily|"
    r"munge|authentication|protocol authentication|slurm_receive_msg|network is unreachable|no route to host",
    re.IGNORECASE,
)


def why_waiting(reason: str) -> tuple[str, str]:
    """Return why a job waits in words, and what a person has to do about it; empty where time alone helps."""
    bare = reason.strip("()").replace("_", " ") or "None"
    for begin, words, advice in REASONS:
        if bare.startswith(begin):
            return words, advice
    if _LIMIT.match(bare):
        if _JOB_LIMIT.search(bare):
            return "a limit of the account or QOS forbids it", "It does not start like this: ask for less."
        return "a limit of the account or QOS is reached: other jobs have to end first", ""
    return "SLURM gives a reason of its own", ""


def refusal(told: str) -> Cause:
    """Return why a submission was refused."""
    lines = tuple(line.strip() for line in told.splitlines() if line.strip())[-6:]
    last = re.sub(r"^sbatch: (error|fatal): (Batch job submission failed: )?", "", lines[-1]) if lines else "no word"
    for pattern, slug, title, advice in REFUSALS:
        if pattern.search(told):
            return Cause(slug, f"SLURM refuses it: {title}", advice, lines, retry=False)
    return Cause("slurm_refused", f"SLURM refuses it: {last}", "See what sbatch said.", lines, retry=False)


def ending(state: str, *, code: str, limit: str, nodes: str, who: str = "", reason: str = "") -> Cause | None:
    """Return why a job ended, by its last state; None: the engine ended by itself, in order.

    Args:
        code: As SLURM tells it: exit code and signal, `1:0`.
        limit: The time limit in SLURM's words.
        nodes: Those that it had, or the ones that failed, with why.
        who: Who cancelled it, where that is known.
    """
    also = f" ({reason})" if reason not in ("", "None", "NonZeroExitCode") else ""
    if state == "CANCELLED":
        by = f"{who} cancelled it" if who else "somebody cancelled it"
        return Cause(
            "slurm_cancelled", f"{by} in SLURM{also}", "It was not ended from here. Launch it again.", retry=False
        )
    if state == "TIMEOUT":
        return Cause("slurm_time_limit", f"its time limit of {limit} is over",
                     "Set a longer handover.time_limit, or restart: always, which submits it again.")  # fmt: skip
    if state == "NODE_FAIL":
        return Cause("slurm_node_failed", f"a node failed: {nodes or 'it is not known which'}",
                     "Launch it again: SLURM chooses other nodes.")  # fmt: skip
    if state == "PREEMPTED":
        return Cause("slurm_preempted", "a job that goes before it took its nodes",
                     "Launch it again, or with a QOS or partition that is not preempted.")  # fmt: skip
    if state == "OUT_OF_MEMORY":
        return Cause("slurm_out_of_memory", "it needed more memory than SLURM gave it on its node",
                     "Set a larger handover.memory.", retry=False)  # fmt: skip
    if state == "DEADLINE":
        return Cause("slurm_deadline", "it could not end before its deadline", "Take a later --deadline.", retry=False)
    if state == "BOOT_FAIL":
        return Cause("slurm_boot_failed", f"a node did not start: {nodes}", "Launch it again.")
    if state == "COMPLETED":
        return None
    if state == "FAILED":
        return _failed(code, nodes)
    return Cause("slurm_ended", f"SLURM ended it: {state}{also}", "See scontrol show job, or ask the administrators.")


def _failed(code: str, nodes: str) -> Cause:
    number, _, signal = code.partition(":")
    if signal == "53":
        return Cause("slurm_no_output", f"its log could not be written on {nodes or 'its node'}",
                     "That folder is not on a file system that the nodes have: name another log with --output in "
                     "handover.options, or set VLLM_STUDIO_HOME to a folder that they have.", retry=False)  # fmt: skip
    if signal not in ("", "0"):
        return Cause("slurm_signal", f"signal {signal} ended it on {nodes or 'its node'}", "See its log.", weak=True)
    killed = f": signal {int(number) - 128}" if number.isdigit() and int(number) > 128 else ""
    return Cause("slurm_exit_code", f"its job ended with exit code {number}{killed}", "See its log.", weak=True)


def rank_ended(node: str, rank: str, how: str) -> Cause:
    """Return why a job of several ranks ended: the one that ended first took the others with it."""
    return Cause("slurm_rank_ended", f"rank {rank} on {node} ended first: {how}", "See what its log says.", weak=True)
