"""Is this cluster fit for tunnels? Every property is attacked from inside pods, each with a control that shows the attack works."""

from broker.adapters.examination.doctor import Doctor, Subject

__all__ = ["Doctor", "Subject"]
