"""Fleets over time: how many of which machines serve which workload, where, hour by hour (the question is SageServe's)."""

from cloudbandit.plan.capacity import CapacityTable, FirstOf, MeasuredCapacity, RecordedCapacity
from cloudbandit.plan.demand import Demand, demand_of_frame, read_demand
from cloudbandit.plan.explain import cures, prices
from cloudbandit.plan.forecast import forecast_demand
from cloudbandit.plan.logs import read_log
from cloudbandit.plan.plan import Plan
from cloudbandit.plan.planner import NoPlan, make_plan
from cloudbandit.plan.predicted import PredictedCapacity
from cloudbandit.plan.problem import Problem
from cloudbandit.plan.rolling import roll
from cloudbandit.plan.sageserve import SageServe, solve_sageserve
from cloudbandit.plan.solve import Outcome
from cloudbandit.plan.terms import Network, Policy, Quota, Rental
from cloudbandit.plan.traces import extended, read_trace
from cloudbandit.plan.workload import Workload

__all__ = [
    "CapacityTable",
    "Demand",
    "FirstOf",
    "MeasuredCapacity",
    "Network",
    "NoPlan",
    "Outcome",
    "Plan",
    "Policy",
    "PredictedCapacity",
    "Problem",
    "Quota",
    "RecordedCapacity",
    "Rental",
    "SageServe",
    "Workload",
    "cures",
    "demand_of_frame",
    "extended",
    "forecast_demand",
    "make_plan",
    "prices",
    "read_demand",
    "read_log",
    "read_trace",
    "roll",
    "solve_sageserve",
]
