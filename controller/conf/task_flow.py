"""[task_flow]: how workers find and run jobs."""

from oslo_config import cfg

GROUP = "task_flow"
OPTS = [
    cfg.IntOpt(
        "max_workers",
        default=16,
        min=1,
        help="How many flows a worker runs side by side. A flow that waits (for a machine to boot, say) is put aside and takes no place. "
        "Failovers of what is dead have a quarter as many places of their own. Where more is due, projects take turns.",
    ),
    cfg.IntOpt(
        "max_waiting",
        default=256,
        min=0,
        help="How many flows a worker has besides that have waited for an agent's answer for a second or more: amphorae that hang hold up "
        "nobody else until they are more than these. Each has a few threads, and no more.",
    ),
    cfg.StrOpt(
        "wakeup_directory",
        default="/run/figlina/wakeup",
        help="Folder of Unix sockets through which the processes of one machine tell the workers there that a job was posted, so that "
        "none waits for the next look at the board. Empty: no wake-ups, workers only look now and then.",
    ),
    cfg.FloatOpt(
        "poll_interval",
        default=1.0,
        min=0.05,
        max=60.0,
        help="Seconds between two looks at the board when nobody woke the worker, and the longest that a waiting flow goes unseen.",
    ),
    cfg.FloatOpt(
        "coalesce_interval",
        default=0.1,
        min=0.0,
        max=10.0,
        help="Seconds that a load balancer rests when more was written while it was brought up to date, so that a burst of writes ends in "
        "few pushes. The first write after a pause is always carried out at once.",
    ),
    cfg.FloatOpt(
        "shutdown_timeout",
        default=30.0,
        min=1.0,
        help="Seconds that a worker that was asked to stop waits for the steps under way. What is not finished then is taken over by "
        "another worker when the claim expires.",
    ),
]
