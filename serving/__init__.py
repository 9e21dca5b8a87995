"""The sampling service: releases behind an HTTP interface on Ray Serve, watched for falling diversity.

    front       an HTTP server before replicas       api, routes_*, access, bounds, patience, problems
    desk        who may draw what, and how much      settings, catalogue, shelf, keys, quota, admission, audit, jobs
    replica     rows of many callers, together       stream, formats, origin
    watcher     monitors, in a process of their own  monitor/
    app         all of it as an application of Serve: launch and commands start it

What it tells: metrics, alerts.yml with its runbook, dashboard.json, and the console, a page at /.
"""
