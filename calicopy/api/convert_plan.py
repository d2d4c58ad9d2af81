"""Views of plans and changes to proto messages."""
from __future__ import annotations

from calicopy.api.backend import ConfigKind
from calicopy.api.scalars import timestamp
from calicopy.core.views import (
    AnnouncementPlan,
    ApplyStage,
    ConfigTextView,
    Effect,
    PlanView,
    ProgressView,
    RoutePlan,
    SessionEffect,
    SessionPlan,
)
from calicopy.v1 import config_pb2

KINDS = {
    config_pb2.CONFIG_KIND_UNSPECIFIED: ConfigKind.RUNNING,
    config_pb2.CONFIG_KIND_RUNNING: ConfigKind.RUNNING,
    config_pb2.CONFIG_KIND_STARTUP: ConfigKind.STARTUP,
}
SESSION_EFFECTS = {
    SessionEffect.ADDED: config_pb2.SESSION_EFFECT_ADDED,
    SessionEffect.REMOVED: config_pb2.SESSION_EFFECT_REMOVED,
    SessionEffect.LINGERING: config_pb2.SESSION_EFFECT_LINGERING,
    SessionEffect.RESET: config_pb2.SESSION_EFFECT_RESET,
    SessionEffect.CHANGED: config_pb2.SESSION_EFFECT_CHANGED,
}
EFFECTS = {
    Effect.ADDED: config_pb2.PLAN_EFFECT_ADDED,
    Effect.REMOVED: config_pb2.PLAN_EFFECT_REMOVED,
    Effect.CHANGED: config_pb2.PLAN_EFFECT_CHANGED,
}
STAGES = {
    ApplyStage.RUNNING: config_pb2.APPLY_STAGE_RUNNING,
    ApplyStage.WAITING: config_pb2.APPLY_STAGE_WAITING,
    ApplyStage.DONE: config_pb2.APPLY_STAGE_DONE,
    ApplyStage.NOT_SAVED: config_pb2.APPLY_STAGE_NOT_SAVED,
    ApplyStage.RESTORED: config_pb2.APPLY_STAGE_RESTORED,
}


def plan(view: PlanView) -> config_pb2.Plan:
    """A whole plan."""
    return config_pb2.Plan(
        sessions=[_session(session) for session in view.sessions],
        announcements=[_announcement(announcement) for announcement in view.announcements],
        routes=[_route(route) for route in view.routes],
        sessions_total=view.sessions_total,
        announcements_total=view.announcements_total,
        routes_total=view.routes_total,
        restarts=view.restarts,
        notes=view.notes,
        warnings=view.warnings,
    )


def _session(view: SessionPlan) -> config_pb2.SessionPlan:
    return config_pb2.SessionPlan(
        name=view.name,
        address=str(view.address),
        effect=SESSION_EFFECTS[view.effect],
        fields=[
            config_pb2.FieldChange(name=one.name, before=one.before, after=one.after, resets=one.resets)
            for one in view.fields
        ],
        note=view.note,
    )


def _announcement(view: AnnouncementPlan) -> config_pb2.AnnouncementPlan:
    return config_pb2.AnnouncementPlan(
        peers=view.peers,
        effect=EFFECTS[view.effect],
        prefixes=map(str, view.prefixes),
        before=view.before,
        after=view.after,
    )


def _route(view: RoutePlan) -> config_pb2.RoutePlan:
    return config_pb2.RoutePlan(
        prefix=str(view.prefix), effect=EFFECTS[view.effect], before=view.before, after=view.after, why=view.why
    )


def progress(view: ProgressView) -> config_pb2.ApplyProgress:
    """A step of a change."""
    return config_pb2.ApplyProgress(stage=STAGES[view.stage], message=view.message, missing=view.missing)


def config(view: ConfigTextView) -> config_pb2.GetConfigResponse:
    """A text, and the change that is under way."""
    change = view.change
    return config_pb2.GetConfigResponse(
        text=view.text,
        filename=view.filename,
        same=view.same,
        change=None
        if change is None
        else config_pb2.ConfigChange(
            by=change.by,
            began_at=timestamp(change.began_at),
            until=timestamp(change.until),
            missing=change.missing,
        ),
    )
