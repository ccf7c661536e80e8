"""The Celery application: a real worker in every mode, never eager outside unit tests."""

import os

from celery import Celery

from dematmp import folder_broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dematmp.settings.base")

folder_broker.register()
app = Celery("dematmp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
