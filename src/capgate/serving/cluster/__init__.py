"""Model servers on the machines of a Ray cluster.

| process | where | does |
|---|---|---|
| `ray_cluster`, `placing` | the run's controller | asks for servers, hears of their ends |
| `driver`, `placement` | beside it, one for a run | joins the cluster, places actors anew |
| `actor` | a node, one for each server | is what Ray places; starts `replica` |
| `replica` | the same node | starts the server, says its URL and key, ends it |

Each ends when the one above it in the table ends, by SIGKILL, too: its standard input closes, or,
for actors, Ray ends them with their driver.
"""
