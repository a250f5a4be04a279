"""All of Figlina on one machine: `figlina dev` and `figlina demo`."""
