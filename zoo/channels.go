package zoo

import (
	"errors"
	"fmt"
)

// resolveChannels fills in and checks what convolutional networks have in common. The narrowest width of the network is unit channels at width 1,
// and all others are multiples of it; an example has sides of at least so many pixels.
func (c *Config) resolveChannels(unit, pixels, least int) error {
	if err := c.foreign(map[string]bool{"hidden": len(c.Hidden) > 0, "layers": len(c.Layers) > 0}); err != nil {
		return err
	}
	setDefault(&c.Width, 1)
	setDefault(&c.Norm, "batch")
	if len(c.Input) == 0 {
		c.Input = []int{3, pixels, pixels}
	}
	if len(c.Input) != 3 {
		return fmt.Errorf("input %v is no image: channels, height, width", c.Input)
	}
	if min(c.Input[1], c.Input[2]) < least {
		return fmt.Errorf("input %v is too small: it needs %d by %d pixels", c.Input, least, least)
	}
	if c.Activation == "prelu" {
		return errors.New("activation prelu is for mlp only")
	}
	width, err := c.scale(unit)
	if err != nil {
		return err
	}
	return c.resolveNorm(width)
}

// resolveNorm checks the normalisation of a network whose channels come in multiples of width.
func (c *Config) resolveNorm(width int) error {
	switch c.Norm {
	case "none", "batch", "layer":
		if c.Groups != 0 {
			return fmt.Errorf("groups are for norm group, not %s", c.Norm)
		}
		return nil
	case "group":
	default:
		return fmt.Errorf("unknown norm %q; known: none, batch, layer, group", c.Norm)
	}
	setDefault(&c.Groups, usualGroups(width))
	if c.Groups < 1 || width%c.Groups != 0 {
		return fmt.Errorf("%d channels do not make %d groups", width, c.Groups)
	}
	return nil
}

// usualGroups is 32, as Wu and He ("Group Normalization", 2018, arXiv:1803.08494) have it, or the greatest smaller power of two that leaves at
// least two channels in a group.
func usualGroups(width int) int {
	groups := 32
	for groups > 1 && width%(2*groups) != 0 {
		groups /= 2
	}
	return groups
}
