"""What watches over endpoints: health checks, outlier detection and circuit breakers, from messages to values."""

from janua.config.v1 import upstream_pb2

from gateway.compile.durations import optional_seconds, seconds
from gateway.config.upstream import (
    BreakerConfig,
    GrpcProbe,
    HealthCheckConfig,
    HttpProbe,
    OpenInferenceProbe,
    OutlierConfig,
    Probe,
    RetryBudgetConfig,
    TcpProbe,
)

_SUCCESS = ((200, 299),)


def compile_health_check(message: upstream_pb2.HealthCheck) -> HealthCheckConfig:
    """The value of an active check."""
    interval = seconds(message, "interval", 5.0)
    jitter = optional_seconds(message, "jitter")
    return HealthCheckConfig(
        probe=_probe(message),
        interval_s=interval,
        unhealthy_interval_s=seconds(message, "unhealthy_interval", interval),
        timeout_s=seconds(message, "timeout", 1.0),
        jitter_s=interval / 10 if jitter is None else jitter,
        unhealthy_threshold=message.unhealthy_threshold if message.HasField("unhealthy_threshold") else 2,
        healthy_threshold=message.healthy_threshold if message.HasField("healthy_threshold") else 1,
    )


def _probe(message: upstream_pb2.HealthCheck) -> Probe:
    match message.WhichOneof("checker"):
        case "grpc":
            return GrpcProbe(service_name=message.grpc.service_name)
        case "tcp":
            return TcpProbe()
        case "open_inference":
            return OpenInferenceProbe(model=message.open_inference.model or None)
        case _:
            return HttpProbe(
                path=message.http.path,
                statuses=tuple((status.start, status.end) for status in message.http.expected_statuses) or _SUCCESS,
                host=message.http.host or None,
                method=message.http.method or "GET",
            )


def compile_outlier_detection(message: upstream_pb2.OutlierDetection) -> OutlierConfig:
    """The value of an outlier detection that is set."""
    default = OutlierConfig()
    base = seconds(message, "base_ejection_time", default.base_ejection_time_s)
    rate = message.success_rate

    def threshold(field: str, given: int) -> int:
        return given if message.HasField(field) else 5  # type: ignore[arg-type]  # one of three literals

    return OutlierConfig(
        consecutive_5xx=threshold("consecutive_5xx", message.consecutive_5xx),
        consecutive_gateway_failure=threshold("consecutive_gateway_failure", message.consecutive_gateway_failure),
        consecutive_local_origin_failure=threshold(
            "consecutive_local_origin_failure", message.consecutive_local_origin_failure
        ),
        interval_s=seconds(message, "interval", default.interval_s),
        base_ejection_time_s=base,
        max_ejection_time_s=seconds(message, "max_ejection_time", max(default.max_ejection_time_s, base)),
        max_ejection_percent=message.max_ejection_percent
        if message.HasField("max_ejection_percent")
        else default.max_ejection_percent,
        enforcing_success_rate=message.HasField("success_rate"),
        success_rate_minimum_hosts=rate.minimum_hosts
        if rate.HasField("minimum_hosts")
        else default.success_rate_minimum_hosts,
        success_rate_request_volume=rate.request_volume
        if rate.HasField("request_volume")
        else default.success_rate_request_volume,
        success_rate_stdev_factor=rate.stdev_factor
        if rate.HasField("stdev_factor")
        else default.success_rate_stdev_factor,
    )


def compile_circuit_breakers(message: upstream_pb2.CircuitBreakers) -> BreakerConfig:
    """The value of circuit breakers; of an unset message, no bounds."""
    default = BreakerConfig()
    budget = message.retry_budget
    return BreakerConfig(
        max_connections=message.max_connections if message.HasField("max_connections") else None,
        max_requests=message.max_requests if message.HasField("max_requests") else None,
        max_pending_requests=message.max_pending_requests
        if message.HasField("max_pending_requests")
        else default.max_pending_requests,
        max_retries=message.max_retries if message.HasField("max_retries") else None,
        retry_budget=RetryBudgetConfig(
            budget_percent=budget.budget_percent if budget.HasField("budget_percent") else 20.0,
            min_retry_concurrency=budget.min_retry_concurrency if budget.HasField("min_retry_concurrency") else 3,
        )
        if message.HasField("retry_budget")
        else None,
        queue_timeout_s=seconds(message, "queue_timeout", default.queue_timeout_s),
    )
