"""The autonomy contract of an agent, and people's approvals of single actions: stage 7's capability."""
