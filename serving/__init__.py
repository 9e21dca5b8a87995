"""The sampling service: releases behind an HTTP interface on Ray Serve, watched for falling diversity.

    front       HTTP and gRPC before replicas        api, routes_*, static, rpc, access, bounds, patience, problems, refusals
    desk        who may draw what, and how much      settings, catalogue, shelf, keys, quota, admission, audit, jobs
    answer      rows on their way to a caller        asked, stream, formats, origin
    replica     rows of many callers, together
    watcher     monitors, in a process of their own  monitor/
    app         all of it as an application of Serve: launch and commands start it

What it tells: metrics, alerts.yml with its runbook, dashboard.json, and the console, a page at /.
"""
