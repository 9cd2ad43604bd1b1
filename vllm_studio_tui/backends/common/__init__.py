"""What several backends share: flags, stages, checks of files, containers, plug-ins."""
