-- wrk's side of scripts/serve_bench.py: bodies from a file, in random order, and a line of JSON at the end.
local bodies = {}

function init(args)
    for line in io.lines(args[1]) do
        bodies[#bodies + 1] = line
    end
    math.randomseed(tonumber(args[2] or "1"))
end

function request()
    return wrk.format("POST", nil, {["Content-Type"] = "application/json"}, bodies[math.random(#bodies)])
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "errors": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
        latency:percentile(99) / 1e3, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
